;;; smtps-rpc.el --- Calls and events over a process's pipes  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A peer is a process that speaks `smtps-wire' on its standard input and
;; output.  Either side calls the other; each call ends exactly once: with a
;; value, an error, a time-out, or the peer's death.  Nothing here knows SMTP.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps-wire)

(define-error 'smtps-helper-missing "The smtps helper is missing" 'smtps-rpc-error)
(define-error 'smtps-helper-dead "The smtps helper has died" 'smtps-rpc-error)
(define-error 'smtps-helper-too-old "The smtps helper is too old" 'smtps-rpc-error)
(define-error 'smtps-rpc-timeout "The smtps helper did not answer" 'smtps-rpc-error)
(define-error 'smtps-rpc-cancelled "Cancelled" 'smtps-rpc-error)
(define-error 'smtps-remote-error "The smtps helper" 'smtps-rpc-error)

(defconst smtps-rpc-call-seconds 60
  "Seconds after which a call that was not answered is given up.")

(defconst smtps-rpc--slice 64
  "Messages handled at once; more wait for a timer, so that keys are answered.")

(defconst smtps-rpc--log-limit 100000
  "Characters kept of the log of messages.")

(cl-defstruct (smtps-rpc-peer (:constructor smtps-rpc--make-peer) (:copier nil))
  "The other side of the pipes."
  name process stderr
  (rest "") (queue nil) (timer nil)
  (uid 0) (calls (make-hash-table))
  handlers on-event on-death
  (last-words "") (garbage nil) (closing nil))

;;;; Public

(cl-defun smtps-rpc-start (&key name command handlers on-event on-death)
  "Start the program COMMAND, a list of strings, and return a peer named NAME.
HANDLERS is an alist METHOD -> (FUNCTION . SECRET), what the peer may call:
FUNCTION gets the arguments and returns the value; if SECRET the value is
not logged.  ON-EVENT gets topic and plist, ON-DEATH a sentence.  None of
them may ask.  Signal `smtps-helper-missing' if it can't be started."
  (let* ((peer (smtps-rpc--make-peer :name name :handlers handlers
                                     :on-event on-event :on-death on-death))
         ;; Never on the other side of a TRAMP connection.
         (default-directory (expand-file-name "~/"))
         (process-adaptive-read-buffering nil)
         (read-process-output-max 65536)
         (stderr (make-pipe-process
                  :name (concat name " stderr") :buffer nil :noquery t
                  :coding 'utf-8-unix
                  :filter (lambda (_process text)
                            (smtps-rpc--heard-stderr peer text))
                  :sentinel #'ignore)))
    (unless (file-directory-p default-directory)
      (setq default-directory "/"))
    (setf (smtps-rpc-peer-stderr peer) stderr)
    (condition-case err
        (setf (smtps-rpc-peer-process peer)
              (make-process
               :name name :command command :buffer nil :noquery t
               :connection-type 'pipe :coding 'utf-8-unix :stderr stderr
               :filter (lambda (_process text) (smtps-rpc--heard peer text))
               :sentinel (lambda (process _event)
                           (unless (process-live-p process)
                             (smtps-rpc--died peer)))))
      (error
       (delete-process stderr)
       (signal 'smtps-helper-missing
               (list (format "%s can't be started: %s"
                             (car command) (error-message-string err))))))
    peer))

(defun smtps-rpc-live-p (peer)
  "Return non-nil if PEER can be called."
  (and peer
       (not (smtps-rpc-peer-closing peer))
       (process-live-p (smtps-rpc-peer-process peer))))

(cl-defun smtps-rpc-call (peer method args &key then else timeout)
  "Call METHOD of PEER with the plist ARGS; return the call's number at once.
Later exactly one is called: THEN with the value, or ELSE with an error as
`condition-case' has it.  TIMEOUT is in seconds, `none' for no end."
  (let ((uid (cl-incf (smtps-rpc-peer-uid peer)))
        (timer nil))
    (unless (eq timeout 'none)
      (setq timer (run-at-time
                   (or timeout smtps-rpc-call-seconds) nil
                   (lambda ()
                     (smtps-rpc--settle
                      peer uid nil
                      (list 'smtps-rpc-timeout
                            (format "%s did not answer “%s” in time"
                                    (smtps-rpc-peer-name peer) method)))))))
    (puthash uid (list then else timer) (smtps-rpc-peer-calls peer))
    (condition-case err
        (smtps-rpc--send peer (list 'call uid method args))
      (smtps-rpc-error (smtps-rpc--settle peer uid nil err)))
    uid))

(defun smtps-rpc-request (peer method args &optional timeout)
  "Call METHOD of PEER with ARGS, wait for the value and return it.
Signal the call's error.  TIMEOUT is in seconds.  For batch use and tests:
Emacs does nothing else meanwhile; \\[keyboard-quit] cancels the call."
  (let* ((answer nil)
         (uid (smtps-rpc-call peer method args :timeout timeout
                              :then (lambda (value) (setq answer (list t value)))
                              :else (lambda (err) (setq answer (list nil err))))))
    (unwind-protect
        (while (not answer)
          (accept-process-output (smtps-rpc-peer-process peer) 0.05))
      (unless answer (smtps-rpc-cancel peer uid)))
    (if (car answer) (cadr answer)
      (signal (car (cadr answer)) (cdr (cadr answer))))))

(defun smtps-rpc-cancel (peer uid)
  "Cancel the call UID of PEER: its error function hears of it."
  (when (gethash uid (smtps-rpc-peer-calls peer))
    (ignore-errors (smtps-rpc--send peer (list 'cancel uid)))
    (smtps-rpc--settle peer uid nil
                       (list 'smtps-rpc-cancelled "The call was cancelled"))))

(defun smtps-rpc-event (peer topic plist)
  "Tell PEER of TOPIC, with PLIST."
  (smtps-rpc--send peer `(event ,topic ,@plist)))

(defun smtps-rpc-close (peer)
  "End PEER's standard input: it finishes what it must, and exits by itself."
  (unless (smtps-rpc-peer-closing peer)
    (setf (smtps-rpc-peer-closing peer) t)
    (ignore-errors (process-send-eof (smtps-rpc-peer-process peer)))
    (smtps-rpc--fail-all peer (list 'smtps-helper-dead "The smtps helper was stopped"))))

;;;; What goes out

(defun smtps-rpc--send (peer form &optional secret)
  "Send FORM to PEER; log it, or only its kind if SECRET."
  (unless (smtps-rpc-live-p peer)
    (signal 'smtps-helper-dead (list (smtps-rpc--obituary peer))))
  (let ((line (smtps-wire-print form)))
    (smtps-rpc--log peer "->" (if secret (format "(%s %s <secret>)" (car form) (cadr form))
                                line))
    (condition-case nil
        (process-send-string (smtps-rpc-peer-process peer) (concat line "\n"))
      (error (signal 'smtps-helper-dead (list (smtps-rpc--obituary peer)))))
    (when secret (clear-string line))))

;;;; What comes in

(defun smtps-rpc--heard (peer text)
  "Take TEXT from PEER's standard output."
  (let ((split (smtps-wire-split (smtps-rpc-peer-rest peer) text)))
    (setf (smtps-rpc-peer-rest peer) (cdr split))
    (setf (smtps-rpc-peer-queue peer)
          (nconc (smtps-rpc-peer-queue peer) (car split))))
  (unless (smtps-rpc-peer-timer peer)
    (smtps-rpc--work peer)))

(defun smtps-rpc--work (peer)
  "Handle the next messages of PEER, and leave the others to a timer."
  (setf (smtps-rpc-peer-timer peer) nil)
  (let ((left smtps-rpc--slice))
    (while (and (smtps-rpc-peer-queue peer) (> left 0))
      (setq left (1- left))
      (smtps-rpc--take peer (pop (smtps-rpc-peer-queue peer)))))
  (when (and (smtps-rpc-peer-queue peer) (not (smtps-rpc-peer-timer peer)))
    (setf (smtps-rpc-peer-timer peer)
          (run-at-time 0.001 nil #'smtps-rpc--work peer))))

(defun smtps-rpc--take (peer line)
  "Handle one LINE of PEER; an error in a handler is logged, never signalled."
  (condition-case err
      (let ((message (if (eq line 'too-long)
                         (signal 'smtps-wire-error '("A line is over the limit"))
                       (smtps-wire-read line))))
        (smtps-rpc--log peer "<-" line)
        (with-temp-buffer (smtps-rpc--dispatch peer message)))
    (smtps-wire-error
     (setf (smtps-rpc-peer-garbage peer) t)
     (smtps-rpc--log peer "!!" (error-message-string err)))
    (error (smtps-rpc--log peer "!!" (error-message-string err)))))

(defun smtps-rpc--dispatch (peer message)
  "Do what MESSAGE of PEER asks for."
  (pcase message
    (`(return ,uid ,value) (smtps-rpc--settle peer uid value nil))
    (`(return-error ,uid (,kind ,text . ,details))
     (smtps-rpc--settle peer uid nil
                        `(smtps-remote-error ,text :kind ,kind ,@details)))
    (`(epc-error ,uid ,text)
     (if (gethash uid (smtps-rpc-peer-calls peer))
         (smtps-rpc--settle peer uid nil (list 'smtps-wire-error text))
       (smtps-rpc--log peer "!!" text)))
    (`(event ,topic . ,plist)
     (when (smtps-rpc-peer-on-event peer)
       (funcall (smtps-rpc-peer-on-event peer) topic plist)))
    (`(call ,uid ,method ,args) (smtps-rpc--called peer uid method args))
    (`(methods ,uid)
     (smtps-rpc--send peer (list 'return uid
                                 (mapcar (lambda (handler) (list (car handler) "" ""))
                                         (smtps-rpc-peer-handlers peer)))))
    (`(cancel ,_) nil)
    (_ (smtps-rpc--send peer (list 'epc-error nil "This is not a message")))))

(defun smtps-rpc--called (peer uid method args)
  "Answer PEER's call UID of METHOD with ARGS."
  (let ((handler (cdr (assq method (smtps-rpc-peer-handlers peer)))))
    (if (not handler)
        (smtps-rpc--send peer `(return-error ,uid (unknown-method "There is no such method")))
      (condition-case err
          (smtps-rpc--send peer (list 'return uid (funcall (car handler) args))
                           (cdr handler))
        (error
         (smtps-rpc--send
          peer `(return-error ,uid (emacs ,(if (cdr handler) "An error in Emacs"
                                             (error-message-string err))))))))))

(defun smtps-rpc--settle (peer uid value err)
  "End the call UID of PEER: with VALUE, or with ERR if that is non-nil."
  (pcase (gethash uid (smtps-rpc-peer-calls peer))
    (`(,then ,else ,timer)
     (remhash uid (smtps-rpc-peer-calls peer))
     (when timer (cancel-timer timer))
     (let ((function (if err else then)))
       (when function (funcall function (or err value)))))))

;;;; Death

(defun smtps-rpc--heard-stderr (peer text)
  "Keep the last line of TEXT, which PEER wrote to its standard error."
  (smtps-rpc--log peer "??" (string-trim text))
  (let ((line (car (last (split-string text "\n" t "[ \t\r]+")))))
    (when line
      (setf (smtps-rpc-peer-last-words peer)
            (truncate-string-to-width line 300)))))

(defun smtps-rpc--obituary (peer)
  "Return a sentence on how PEER ended."
  (let* ((process (smtps-rpc-peer-process peer))
         (words (string-remove-prefix "smtps: " (smtps-rpc-peer-last-words peer)))
         (status (and process (process-exit-status process))))
    (concat
     (format "The smtps helper has ended%s"
             (if (and status (/= status 0)) (format " (status %d)" status) ""))
     (cond ((not (string= words "")) (concat ": " words))
           ((smtps-rpc-peer-garbage peer) ": what it said was no message")
           (t "")))))

(defun smtps-rpc--fail-all (peer err)
  "End every call of PEER that is under way with ERR."
  (let (uids)
    (maphash (lambda (uid _) (push uid uids)) (smtps-rpc-peer-calls peer))
    (dolist (uid (nreverse uids))
      (smtps-rpc--settle peer uid nil err))))

(defun smtps-rpc--died (peer)
  "Tell everybody who waits for PEER that it has ended."
  ;; What it said last may still be under way from its standard error.
  (let ((stderr (smtps-rpc-peer-stderr peer)))
    (when (process-live-p stderr)
      (accept-process-output stderr 0.1)
      (delete-process stderr)))
  (while (smtps-rpc-peer-queue peer)
    (smtps-rpc--take peer (pop (smtps-rpc-peer-queue peer))))
  (let ((sentence (smtps-rpc--obituary peer)))
    (smtps-rpc--log peer "!!" sentence)
    (smtps-rpc--fail-all peer (list 'smtps-helper-dead sentence))
    (when (and (smtps-rpc-peer-on-death peer)
               (not (smtps-rpc-peer-closing peer)))
      (with-temp-buffer
        (funcall (smtps-rpc-peer-on-death peer) sentence)))))

;;;; Log

(defun smtps-rpc--log (peer mark text)
  "Append TEXT, with MARK before it, to the log of PEER, which is bounded."
  (with-current-buffer (get-buffer-create (format " *%s log*" (smtps-rpc-peer-name peer)))
    (let ((inhibit-read-only t))
      (setq buffer-undo-list t)
      (goto-char (point-max))
      (insert mark " " text "\n")
      (when (> (buffer-size) smtps-rpc--log-limit)
        (delete-region (point-min) (- (point-max) (/ smtps-rpc--log-limit 2)))))))

(provide 'smtps-rpc)
;;; smtps-rpc.el ends here
