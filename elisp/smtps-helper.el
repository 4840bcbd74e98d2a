;;; smtps-helper.el --- Find, install, start and greet the helper  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The helper is a Python program beside this file.  It is started when it is
;; first needed and greeted with `hello'; calls wait until it has answered.

;;; Code:

(require 'cl-lib)
(require 'smtps-rpc)

(defgroup smtps nil
  "Send mail, and type SMTP by hand, over TLS."
  :group 'mail
  :prefix "smtps-")

(defcustom smtps-helper-command nil
  "The helper's whole command, a list of program and arguments, or nil.
If nil, what `smtps-install-helper' installed is used, else the
Python of a checkout's `.venv', else `python3'."
  :type '(choice (const :tag "Find it" nil)
                 (repeat :tag "Program and arguments" string))
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

(defconst smtps-helper-version "0.1.0"
  "The version of this package, which the helper's has to equal.")

(defconst smtps-helper-wire 1
  "The version of the wire form that we speak.")

(defconst smtps-helper-hello-seconds 10
  "Seconds that the helper has for its first answer; it takes a fraction of one.")

(defconst smtps-helper--directory
  (file-name-directory (or load-file-name buffer-file-name default-directory))
  "Where the elisp files lie.")

(defvar smtps-helper-death-functions nil
  "Abnormal hook: called with a sentence when the helper has died.")

(defvar smtps-helper--peer nil
  "The peer that is the helper, or nil.")

(defvar smtps-helper--greeted nil
  "Non-nil when the helper has answered our greeting.")

(defvar smtps-helper--waiting nil
  "Calls that wait for the greeting: lists (METHOD ARGS . KEYS), last first.")

(defvar smtps-helper--subscribers nil
  "Alist: topic -> functions of one plist.")

(defvar smtps-helper--handlers nil
  "Alist: method -> (FUNCTION . SECRET), what the helper may call.")

;;;; Where it is

(defun smtps-helper--python-directory ()
  "Return the directory of the helper's source, beside the elisp files."
  (or (cl-find-if (lambda (directory)
                    (file-exists-p (expand-file-name "__main__.py" directory)))
                  (list (expand-file-name "../python" smtps-helper--directory)
                        (expand-file-name "python" smtps-helper--directory)))
      (signal 'smtps-helper-missing
              (list (format "The helper's source was not found beside %s; install the package anew"
                            smtps-helper--directory)))))

(defun smtps-helper--installed-directory ()
  "Return the place of an installed helper."
  (expand-file-name "smtps/helper" user-emacs-directory))

(defun smtps-helper--python ()
  "Return the Python to run the helper with.
Signal `smtps-helper-missing' if there is none."
  (or (cl-find-if #'file-executable-p
                  (list (expand-file-name "bin/python" (smtps-helper--installed-directory))
                        (expand-file-name "../.venv/bin/python"
                                          (smtps-helper--python-directory))))
      (executable-find "python3")
      (signal 'smtps-helper-missing
              '("There is no python3 on this machine; install Python 3.11 or newer"))))

(defun smtps-helper-program ()
  "Return the command line of `smtps' without a verb, a list of strings."
  (if smtps-helper-command
      (remove "rpc" smtps-helper-command)
    (list (smtps-helper--python) "-I" (smtps-helper--python-directory))))

(defun smtps-helper--command ()
  "Return the whole command of the helper."
  (or smtps-helper-command (append (smtps-helper-program) '("rpc"))))

;;;; Public

(defun smtps-helper-live-p ()
  "Return non-nil if the helper is up."
  (smtps-rpc-live-p smtps-helper--peer))

(defun smtps-helper-subscribe (topic function)
  "Have FUNCTION called with the plist of each event of TOPIC.
It runs in a filter and may not ask."
  (cl-pushnew function (alist-get topic smtps-helper--subscribers)))

(defun smtps-helper-serve (method function &optional secret)
  "Let the helper call METHOD: FUNCTION gets the arguments, whose value is sent.
It runs in a filter and may not ask.  If SECRET the value is never logged."
  (setf (alist-get method smtps-helper--handlers) (cons function secret)))

(cl-defun smtps-helper-call (method args &key then else timeout)
  "Call METHOD of the helper with the plist ARGS, and return at once.
The helper is started first if need be.  Later exactly one is called: THEN
with the value, or ELSE with an error as `condition-case' has it.  TIMEOUT
is in seconds."
  (condition-case err
      (progn
        (smtps-helper--start)
        (if smtps-helper--greeted
            (smtps-rpc-call smtps-helper--peer method args
                            :then then :else else :timeout timeout)
          (push (list method args :then then :else else :timeout timeout)
                smtps-helper--waiting)))
    (smtps-rpc-error (when else (funcall else err))))
  nil)

(defun smtps-helper-event (topic plist)
  "Tell the helper of TOPIC with PLIST; if it does not run, do nothing."
  (when (and smtps-helper--greeted (smtps-helper-live-p))
    (ignore-errors (smtps-rpc-event smtps-helper--peer topic plist))))

(defun smtps-helper-stop ()
  "Stop the helper; it finishes what the server may already have."
  (interactive)
  (when smtps-helper--peer
    (let ((peer smtps-helper--peer))
      (smtps-helper--forget)
      (smtps-rpc-close peer))))

;;;; Start

(defun smtps-helper--forget ()
  "Forget the helper that was."
  (setq smtps-helper--peer nil
        smtps-helper--greeted nil))

(defun smtps-helper--start ()
  "Start and greet the helper unless it is up."
  (unless (smtps-helper-live-p)
    (smtps-helper--forget)
    (let ((peer (smtps-rpc-start
                 :name "smtps-helper"
                 :command (smtps-helper--command)
                 :handlers smtps-helper--handlers
                 :on-event #'smtps-helper--heard
                 :on-death #'smtps-helper--died)))
      (setq smtps-helper--peer peer)
      (smtps-rpc-call peer 'hello
                      (list :version smtps-helper-version :wire smtps-helper-wire)
                      :timeout smtps-helper-hello-seconds
                      :then (lambda (value) (smtps-helper--greeted peer value))
                      :else (lambda (err) (smtps-helper--not-greeted peer err))))))

(defun smtps-helper--greeted (peer hello)
  "Handle HELLO, what PEER said to our greeting."
  (cond
   ((not (eq peer smtps-helper--peer)))
   ((not (and (eql (plist-get hello :wire) smtps-helper-wire)
              (equal (plist-get hello :version) smtps-helper-version)))
    (smtps-helper--not-greeted
     peer
     (list 'smtps-helper-too-old
           (format "The helper is of version %s and this package of %s; %s"
                   (plist-get hello :version) smtps-helper-version
                   "M-x smtps-install-helper installs the right one"))))
   (t
    (setq smtps-helper--greeted t)
    (let ((calls (nreverse smtps-helper--waiting)))
      (setq smtps-helper--waiting nil)
      (dolist (call calls)
        (apply #'smtps-rpc-call peer call))))))

(defun smtps-helper--not-greeted (peer err)
  "Give up PEER, which did not greet us, and tell who waits for it ERR."
  (when (eq peer smtps-helper--peer)
    (let ((calls (nreverse smtps-helper--waiting))
          (told (if (eq (car err) 'smtps-rpc-timeout)
                    (list 'smtps-helper-dead
                          (format "The helper did not answer within %d seconds; \
M-x smtps-install-helper may mend it"
                                  smtps-helper-hello-seconds))
                  err)))
      (setq smtps-helper--waiting nil)
      (smtps-helper--forget)
      ;; It holds nothing yet, and may be hanging.
      (ignore-errors (delete-process (smtps-rpc-peer-process peer)))
      (dolist (call calls)
        (let ((else (plist-get (cddr call) :else)))
          (when else (funcall else told)))))))

(defun smtps-helper--heard (topic plist)
  "Pass the helper's event on TOPIC, with PLIST, to its subscribers."
  (dolist (function (alist-get topic smtps-helper--subscribers))
    (condition-case err
        (funcall function plist)
      (error (smtps-rpc--log smtps-helper--peer "!!" (error-message-string err))))))

(defun smtps-helper--died (sentence)
  "Tell that the helper has died: SENTENCE."
  (smtps-helper--forget)
  (run-hook-with-args 'smtps-helper-death-functions sentence))

;;;; Install

(defun smtps-helper--installer ()
  "Return the installer's command."
  (list (or (executable-find "python3")
            (signal 'smtps-helper-missing
                    '("There is no python3 on this machine; install Python 3.11 or newer")))
        "-I"
        (expand-file-name "smtps/install.py" (smtps-helper--python-directory))
        (smtps-helper--installed-directory)))

;;;###autoload
(defun smtps-install-helper ()
  "Install the helper's Python libraries for this Emacs, in the background."
  (interactive)
  (let* ((command (smtps-helper--installer))
         (default-directory (expand-file-name "~/"))
         (buffer (get-buffer-create "*smtps install*")))
    (with-current-buffer buffer
      (let ((inhibit-read-only t)) (erase-buffer)))
    (message "Installing the smtps helper...")
    (make-process
     :name "smtps-install" :command command :buffer buffer :noquery t
     :connection-type 'pipe
     :sentinel
     (lambda (process _event)
       (unless (process-live-p process)
         (if (= (process-exit-status process) 0)
             (progn
               (smtps-helper-stop)
               (message "The smtps helper is installed"))
           (message "The smtps helper could not be installed: see the buffer %s"
                    (buffer-name buffer))))))))

(provide 'smtps-helper)
;;; smtps-helper.el ends here
