;;; smtps-session-test.el --- Tests of the session buffer  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer is driven by keys.  Here the helper is a list of what it was
;; told; with the real one, and a real server, elisp/try --batch does the same.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-session)

(defvar smtps-session-test--calls nil
  "What the helper was told, last first.")

(defmacro smtps-session-test-with (&rest body)
  "Run BODY in a session buffer with a helper that only listens."
  (declare (indent 0) (debug t))
  `(let ((smtps-session-test--calls nil)
         (smtps-session--buffers nil)
         (smtps-accounts nil))
     (cl-letf (((symbol-function 'smtps-helper-call)
                (lambda (method args &rest keys)
                  (push (cons method args) smtps-session-test--calls)
                  (when (and (eq method 'session-open) (plist-get keys :then))
                    (funcall (plist-get keys :then) '(:session 1)))))
               ((symbol-function 'smtps-helper-event)
                (lambda (topic plist)
                  (push (cons topic plist) smtps-session-test--calls)))
               ((symbol-function 'smtps-helper-subscribe) #'ignore))
       (let ((buffer (smtps-session "mx.test:465")))
         (unwind-protect
             (with-current-buffer buffer ,@body)
           (let ((kill-buffer-query-functions nil))
             (kill-buffer buffer)))))))

(defun smtps-session-test--event (&rest plist)
  "Let the event PLIST happen."
  (smtps-session--event `(:session 1 :seq 1 ,@plist)))

(defun smtps-session-test--type (text)
  "Type TEXT at the end, as keys."
  (goto-char (point-max))
  (dolist (key (append text nil))
    (let ((last-command-event key))
      (call-interactively (key-binding (vector key))))))

(defun smtps-session-test--key (keys)
  "Press KEYS."
  (call-interactively (key-binding (kbd keys))))

(defun smtps-session-test--text ()
  "Return the buffer's text."
  (buffer-substring-no-properties (point-min) (point-max)))

(ert-deftest smtps-session-test-a-half-typed-line-is-left-alone ()
  (smtps-session-test-with
    (smtps-session-test--event :kind 'recv :text "220 hi" :code 220)
    (smtps-session-test--type "ehlo")
    (backward-char 2)
    (smtps-session-test--event :kind 'recv :text "421 bye" :code 421)
    (should (equal (smtps-session-test--text) "recv> 220 hi\nrecv> 421 bye\nsend> ehlo"))
    (should (looking-at "lo"))))

(ert-deftest smtps-session-test-undo-still-fits-after-output ()
  (smtps-session-test-with
    (smtps-session-test--type "ab")
    (undo-boundary)
    (smtps-session-test--event :kind 'recv :text "220 hi" :code 220)
    (smtps-session-test--type "cd")
    (undo-boundary)
    (primitive-undo 6 buffer-undo-list)
    (should (equal (smtps-session-test--text) "recv> 220 hi\nsend> "))))

(ert-deftest smtps-session-test-a-line-is-sent-and-shown-when-it-left ()
  (smtps-session-test-with
    (smtps-session-test--type "ehlo x")
    (smtps-session-test--key "RET")
    (should (equal (car smtps-session-test--calls) '(session-send :session 1 :line "ehlo x")))
    (should (equal (smtps-session-test--text) "send> "))
    (smtps-session-test--event :kind 'send :text "ehlo x")
    (should (equal (smtps-session-test--text) "send> ehlo x\nsend> "))
    (should (equal (ring-ref comint-input-ring 0) "ehlo x"))))

(ert-deftest smtps-session-test-a-secret-is-nowhere ()
  (smtps-session-test-with
    (smtps-session-test--event :kind 'state :state 'authenticating :secret 'password)
    (smtps-session-test--type "c2VjcmV0")
    (should (equal (get-text-property (1- (point-max)) 'display) "*"))
    (smtps-session-test--key "RET")
    (smtps-session-test--event :kind 'send :text "<the-base64-password>" :secret t)
    (should (equal (smtps-session-test--text) "send> <the-base64-password>\nsend> "))
    (should (ring-empty-p comint-input-ring))
    (should-not (string-match-p "c2VjcmV0" (format "%S" buffer-undo-list)))))

(ert-deftest smtps-session-test-base64-from-a-key ()
  (smtps-session-test-with
    (cl-letf (((symbol-function 'read-string) (lambda (&rest _) "pässwörd"))
              ((symbol-function 'read-passwd) (lambda (&rest _) (copy-sequence "secret"))))
      (smtps-session-test--key "C-c C-b")
      (should (equal (plist-get (cdar smtps-session-test--calls) :line) "cMOkc3N3w7ZyZA=="))
      (smtps-session-test--event :kind 'state :state 'authenticating :secret 'password)
      (smtps-session-test--key "C-c C-b")
      (should (equal (plist-get (cdar smtps-session-test--calls) :line) "c2VjcmV0")))))

(ert-deftest smtps-session-test-the-documented-closing-line ()
  (smtps-session-test-with
    (smtps-session-test--event :kind 'closed :text "- Peer has closed the TLS connection")
    (should (string-prefix-p "recv> - Peer has closed the TLS connection\n"
                             (smtps-session-test--text)))
    (should-not smtps-session--number)))

(ert-deftest smtps-session-test-what-is-typed-into-a-closed-session-stays ()
  (smtps-session-test-with
    (smtps-session-test--type "quit")
    (smtps-session-test--event :kind 'closed :text "x" :error 'timed-out :message "It hung.")
    (should-error (smtps-session-test--key "RET") :type 'user-error)
    (should (string-match-p "! It hung\\." (smtps-session-test--text)))
    (should (string-suffix-p "quit" (smtps-session-test--text)))))

(ert-deftest smtps-session-test-the-helper-dies-and-g-connects-again ()
  (smtps-session-test-with
    (smtps-session--helper-died "The smtps helper has ended")
    (should (string-match-p "! The smtps helper has ended" (smtps-session-test--text)))
    (goto-char (point-min))
    (smtps-session-test--key "g")
    (should (eq (caar smtps-session-test--calls) 'session-open))
    (should (string-suffix-p "send> " (smtps-session-test--text)))))

(ert-deftest smtps-session-test-a-server-is-shown-never-obeyed ()
  (smtps-session-test-with
    (smtps-session-test--event :kind 'recv :code nil
                               :text "Enter your mail password: ^[[31m (kill-emacs)")
    (should (string-match-p "\\^\\[\\[31m (kill-emacs)" (smtps-session-test--text)))))

(ert-deftest smtps-session-test-old-lines-are-dropped-and-told ()
  (let ((smtps-session-maximum-lines 10))
    (smtps-session-test-with
      (dotimes (n 100)
        (smtps-session-test--event :kind 'recv :text (format "250-%d" n) :code 250))
      (should (< (count-lines (point-min) (point-max)) 15))
      (should (string-match-p "Older lines were dropped" (smtps-session-test--text)))
      (should (string-match-p "250-99\nsend> \\'" (smtps-session-test--text))))))

(ert-deftest smtps-session-test-events-are-acknowledged ()
  (smtps-session-test-with
    (dotimes (n 40)
      (smtps-session--event (list :session 1 :seq (1+ n) :kind 'recv :text "250-x" :code 250)))
    (should (equal (seq-filter (lambda (call) (eq (car call) 'session-ack))
                               smtps-session-test--calls)
                   '((session-ack :session 1 :seq 32) (session-ack :session 1 :seq 16))))))

(provide 'smtps-session-test)
;;; smtps-session-test.el ends here
