;;; smtps-session.el --- Type the SMTP dialogue by hand over TLS  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A comint buffer with the prompt `send> '.  The helper holds the
;; connection; what happens is shown above the prompt.  This file has the
;; mode, its keys, and what opens and closes a session; the rest of it is in
;; rooms of its own:
;;
;;   smtps-session-state    where the dialogue stands
;;   smtps-session-buffer   the lines above the prompt, and the prompt
;;   smtps-session-look     faces, times, octets, the line above the buffer
;;   smtps-session-secret   what is typed and not to be seen
;;   smtps-session-end      what is kept when a connection ends
;;   smtps-session-input    what is typed, and sent
;;   smtps-session-events   what the helper tells
;;
;; What a command brings that not every session needs, is loaded with that.

;;; Code:

(require 'comint)
(require 'easymenu)
(require 'seq)
(require 'subr-x)
(require 'smtps)
(require 'smtps-credentials)
(require 'smtps-helper)
(require 'smtps-host)
(require 'smtps-option)
(require 'smtps-session-events)
(require 'smtps-session-look)
(require 'smtps-session-steps)

(defvar smtps-explain-at-point-function)
(declare-function smtps-explain-eldoc "smtps-explain" (&rest _))
(declare-function smtps-explain-session-line "smtps-explain" ())
(declare-function smtps-trust-ask "smtps-trust" (server))
(declare-function smtps-trust-accept "smtps-trust")
(autoload 'smtps-session-complete "smtps-session-complete")
(autoload 'smtps-session-tab "smtps-session-complete" nil t)
(autoload 'smtps-session-greet "smtps-session-lead" nil t)
(autoload 'smtps-session-start-tls "smtps-session-lead" nil t)
(autoload 'smtps-session-log-in "smtps-session-lead" nil t)
(autoload 'smtps-session-send-message "smtps-session-lead" nil t)
(autoload 'smtps-session-send-transaction "smtps-session-lead" nil t)
(autoload 'smtps-session-reset "smtps-session-lead" nil t)
(autoload 'smtps-session-verify "smtps-session-lead" nil t)
(autoload 'smtps-session-save "smtps-session-keep" nil t)
(autoload 'smtps-session-copy-as "smtps-session-share" nil t)

(defvar smtps-session-history nil
  "Hosts that sessions were opened with.")

(defvar-local smtps-session--begun-function nil
  "Called once when the helper has begun this session for the first time.")

;;;; Mode

(defvar smtps-session-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'smtps-session-send-input)
    (define-key map (kbd "TAB") #'smtps-session-tab)
    (define-key map (kbd "C-c C-b") #'smtps-session-send-base64)
    (define-key map (kbd "C-c C-y") #'smtps-base64-decode-at-point)
    (define-key map (kbd "C-c C-e") #'smtps-session-greet)
    (define-key map (kbd "C-c C-s") #'smtps-session-start-tls)
    (define-key map (kbd "C-c C-a") #'smtps-session-log-in)
    (define-key map (kbd "C-c C-f") #'smtps-session-send-message)
    (define-key map (kbd "C-c C-t") #'smtps-session-send-transaction)
    (define-key map (kbd "C-c C-r") #'smtps-session-reset)
    (define-key map (kbd "C-c C-v") #'smtps-session-verify)
    (define-key map (kbd "C-c C-c") #'smtps-session-hang-up)
    (define-key map (kbd "C-c C-d") #'smtps-session-quit)
    (define-key map (kbd "C-c C-u") #'smtps-session-kill-input)
    (define-key map (kbd "C-c C-j") #'imenu)
    (define-key map (kbd "C-c :") #'smtps-session-toggle-times)
    (define-key map (kbd "C-c ;") #'smtps-session-toggle-octets)
    (define-key map (kbd "C-x C-w") #'smtps-session-save)
    (define-key map (kbd "C-c C-w") #'smtps-session-copy-as)
    ;; comint's would signal, stop or end a process that is only a mark.
    (define-key map (kbd "C-d") #'delete-char)
    (define-key map (kbd "C-c C-z") #'ignore)
    (define-key map (kbd "C-c C-\\") #'ignore)
    (define-key map (kbd "C-c C-o") #'ignore)
    ;; See also `menu-bar-final-items' in the mode.
    (define-key map [menu-bar signals] #'undefined)
    (define-key map [menu-bar completion] #'undefined)
    (define-key map [menu-bar inout delete-output] #'undefined)
    map)
  "Keys of session buffers.")

(defconst smtps-session--typing-seconds 0.3
  "Seconds between two letters that belong to one line being typed.")

(defun smtps-session--unless-typing (command)
  "Return COMMAND, or one that does nothing if a line is being typed.
The session may have been closed in the middle of it."
  (if (and (not executing-kbd-macro)
           (< (- (float-time) smtps-session--typed-at) smtps-session--typing-seconds))
      #'smtps-session-ignore-letter
    command))

(defun smtps-session-ignore-letter ()
  "Do nothing with what is typed, since the session is closed; say so."
  (interactive)
  (setq smtps-session--typed-at (float-time))
  (ding)
  (message "The session is closed: g connects again, %sq puts it away"
           (if smtps-session--refused "t shows the certificate, " "")))

(defun smtps-session--letter (command)
  "Return the binding of a letter to COMMAND, see `smtps-session--unless-typing'."
  (list 'menu-item "" command :filter #'smtps-session--unless-typing))

(defvar smtps-session-closed-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map smtps-session-mode-map)
    (suppress-keymap map)
    (define-key map [remap self-insert-command] #'smtps-session-ignore-letter)
    (define-key map (kbd "g") (smtps-session--letter #'smtps-session-reconnect))
    (define-key map (kbd "q") (smtps-session--letter #'quit-window))
    (define-key map (kbd "t") (smtps-session--letter #'smtps-session-trust))
    (define-key map (kbd "SPC") #'scroll-up-command)
    (define-key map (kbd "S-SPC") #'scroll-down-command)
    (define-key map (kbd "DEL") #'scroll-down-command)
    map)
  "Keys of session buffers whose connection is closed.")

(easy-menu-define smtps-session-menu smtps-session-mode-map
  "Menu of session buffers."
  '("Session"
    ["Send what is typed" smtps-session-send-input
     :active (smtps-session--open-p)
     :help "Send each line behind the prompt, ended by CR LF"]
    ["Send a text in base64..." smtps-session-send-base64
     :active (smtps-session--open-p)
     :help "Read a text or a password and send it in base64"]
    ["Show the text of base64 at point" smtps-base64-decode-at-point]
    ["Explain this line" smtps-explain
     :help "Tell what a reply or a command means, and who can mend it"]
    "--"
    ["Times" smtps-session-toggle-times
     :style toggle :selected smtps-session-look--times
     :help "Show how long each reply took, and when each command left"]
    ["Octets" smtps-session-toggle-octets
     :style toggle :selected smtps-session-look--octets
     :help "Show line ends, and what is not ASCII"]
    ["Fold by step" outline-minor-mode
     :style toggle :selected (bound-and-true-p outline-minor-mode)
     :help "Let Outline fold what is between the steps"]
    ["Go to a step..." imenu :help "Greeting, EHLO, login, each transaction"]
    "--"
    ["Save the transcript..." smtps-session-save
     :help "Write the dialogue into a file, its secrets masked"]
    ["Replay a transcript..." smtps-session-replay
     :help "Say again what was said in a session that was saved"]
    ["Copy as a command..." smtps-session-copy-as
     :help "Put a command for swaks, openssl or smtps into the kill ring"]
    ["Report..." smtps-session-report
     :help "Show the transcript and versions, fit to be published"]
    "--"
    ["Greet" smtps-session-greet :active (smtps-session--open-p)
     :help "Say EHLO"]
    ["Start TLS" smtps-session-start-tls
     :active (and (smtps-session--open-p) (not smtps-session-tls))
     :help "Say EHLO, STARTTLS, and EHLO again under TLS"]
    ["Log in" smtps-session-log-in
     :active (and (smtps-session--open-p) (not smtps-session-mechanism))
     :help "Log in; user and password are there before the first line leaves"]
    ["Send a message..." smtps-session-send-message
     :active (or smtps-session--data (eq smtps-session-state 'rcpt))
     :help "Send a buffer's message behind the envelope that you typed"]
    ["Send a mail..." smtps-session-send-transaction
     :active (smtps-session--open-p)
     :help "Send a buffer's mail: MAIL, RCPT, DATA and all"]
    ["Ask about a recipient..." smtps-session-verify
     :active (smtps-session--open-p)
     :help "MAIL, RCPT, and RSET: no mail is sent"]
    ["Reset" smtps-session-reset :active (smtps-session--open-p)]
    "--"
    ["Say quit" smtps-session-quit :active (smtps-session--open-p)]
    ["Hang up" smtps-session-hang-up :active (smtps-session--open-p)
     :help "Close the connection without saying quit"]
    ["Connect again" smtps-session-reconnect
     :active (not (smtps-session--open-p))]
    ["Trust the server..." smtps-session-trust
     :active smtps-session--refused
     :help "Show the certificate that was refused, and ask whether to trust it"]))

(define-derived-mode smtps-session-mode comint-mode "SMTP"
  "Type the SMTP dialogue by hand.
\\<smtps-session-mode-map>\
A line goes to the server when you type \\[smtps-session-send-input], ended by CR LF, as you
typed it: an empty one, too.  It appears
above the prompt when it has left.  Lines typed ahead wait for the
replies before them.  A password is hidden while you type it, and shown
as `<the-base64-password>' afterwards.

When the connection is closed the buffer can be read only:
\\<smtps-session-closed-map>\\[smtps-session-reconnect] connects again, with what was not sent behind the new prompt,
and \\[quit-window] puts the buffer away.  Where the server's certificate was refused,
\\[smtps-session-trust] shows it and asks whether to trust it.

\\{smtps-session-mode-map}"
  :interactive nil
  ;; Nothing that a server sends may ask for a password, colour or move.
  (setq-local comint-output-filter-functions nil)
  (setq-local comint-preoutput-filter-functions nil)
  (setq-local comint-input-filter-functions nil)
  (setq-local comint-inhibit-carriage-motion t)
  ;; Among the last of the menu bar comint's would come before ours.
  (setq-local menu-bar-final-items
              (seq-difference menu-bar-final-items '(completion signals)))
  ;; No file names are completed here.
  (setq-local comint-dynamic-complete-functions nil)
  (setq-local completion-at-point-functions (list #'smtps-session-complete))
  (setq-local completion-ignore-case t)
  (setq-local comint-get-old-input #'smtps-session--old-input)
  (setq-local comint-prompt-read-only nil)
  (setq-local comint-prompt-regexp "^send> ")
  (setq-local comint-scroll-to-bottom-on-input 'this)
  (setq-local scroll-conservatively 1000)
  (setq-local mode-line-process '((:eval (smtps-session--mode-line))))
  (add-hook 'eldoc-documentation-functions #'smtps-explain-eldoc nil t)
  (setq-local smtps-base64-insert-plain-function #'smtps-session--insert-plain)
  (setq-local smtps-explain-at-point-function #'smtps-explain-session-line)
  (smtps-session-look--set-up)
  (smtps-session-steps--set-up)
  (setq smtps-session--prompt-start (point-max-marker))
  (set-marker-insertion-type smtps-session--prompt-start t)
  (add-hook 'kill-buffer-hook #'smtps-session--killed nil t)
  (add-hook 'after-change-functions #'smtps-session--hide nil t)
  (add-function :filter-return (local 'filter-buffer-substring-function)
                #'smtps-session--without-hidden))

(defun smtps-session--mode-line ()
  "Return a text for the mode line: where this session stands."
  (concat " "
          (cond (smtps-session--data "DATA")
                ((smtps-session--due) (format "%s?" (smtps-session--due)))
                (t (symbol-name (or smtps-session-state 'closed))))
          (if (and smtps-session--number (> smtps-session--owed 0)) "..." "")))

;;;; Opening

(defun smtps-session--read ()
  "Read the arguments of `smtps-session'."
  (let* ((host (completing-read "Host (or HOST:PORT): "
                                (delete-dups
                                 (append (smtps-host-known) smtps-session-history))
                                nil nil nil 'smtps-session-history))
         (port (when current-prefix-arg
                 (read-number "Port: " (or (cdr (smtps-host-split host)) 465))))
         (tls (smtps-host-read-tls host port current-prefix-arg)))
    (append (list host port) (and tls (list :tls tls)))))

(defun smtps-session--plan (host port properties)
  "Return the helper's arguments for a session with HOST at PORT.
PROPERTIES are as in `smtps-session'."
  (pcase-let* ((`(,host . ,typed) (smtps-host-split host))
               (port (if port (smtps-host-port port) typed))
               (tls (plist-get properties :tls))
               (account (smtps-host-account host port tls))
               (ca-file (or (plist-get properties :ca-file)
                            (plist-get account :ca-file))))
    (append
     (list :host host
           :port (or port (plist-get account :port)
                     (alist-get tls smtps--ports 465))
           :tls (or tls (plist-get account :tls))
           :ca-file (and ca-file (expand-file-name ca-file)))
     (seq-mapcat (lambda (key)
                   (let ((value (plist-get account key)))
                     (and value (list key value))))
                 '(:client-certificate :client-key :send-in-clear)))))

;;;###autoload
(defun smtps-session (host &optional port &rest properties)
  "Open a session with the server HOST at PORT: type SMTP by hand over TLS.
HOST may be HOST:PORT.  PORT is 465 by default, where TLS begins at once; at
587 the dialogue begins in clear, until you type starttls.  PROPERTIES are
`:tls', one of `implicit', `starttls', `none', and `:ca-file'; an account in
`smtps-accounts' with this host gives those that are missing.  At any other
port the way of TLS is asked for, and with a prefix argument port and way are.

Each call makes a buffer of its own, which is shown and returned; what goes
wrong is told in it.  Signal `user-error' if HOST is none."
  (interactive (smtps-session--read))
  (smtps-session-open (smtps-session--plan host port properties)))

(defun smtps-session-open (arguments &optional function)
  "Open a session with ARGUMENTS, the helper's; show its buffer and return that.
FUNCTION is called in it, without arguments, once the helper has begun it."
  (condition-case problem
      (smtps-option 'smtps-session-maximum-lines)
    (smtps-option-error (user-error "%s" (cadr problem))))
  (let ((buffer (generate-new-buffer
                 (format "*smtps %s:%s*" (plist-get arguments :host)
                         (plist-get arguments :port)))))
    (with-current-buffer buffer
      (smtps-session-mode)
      (setq smtps-session--arguments arguments
            smtps-session--begun-function function)
      (smtps-credentials-fetch-passphrase arguments)
      (smtps-session--open))
    (pop-to-buffer-same-window buffer)
    buffer))

(defun smtps-session-reconnect ()
  "Connect again to the server of this closed session.
What was not sent stands behind the new prompt."
  (interactive)
  (unless (derived-mode-p 'smtps-session-mode)
    (user-error "This is not a session buffer"))
  (when (smtps-session--open-p)
    (user-error "The session is still open; C-c C-c hangs up"))
  (smtps-credentials-fetch-passphrase smtps-session--arguments)
  (smtps-session--open))

(defun smtps-session-trust ()
  "Show the certificate that was refused, and ask whether to trust its key.
If so, connect again."
  (interactive)
  (let ((server smtps-session--refused)
        (buffer (current-buffer)))
    (unless server
      (user-error "No certificate that could be trusted was refused here"))
    (when (smtps-session--open-p)
      (user-error "The session is open"))
    (require 'smtps-trust)
    (let ((how (condition-case err
                   (smtps-trust-ask server)
                 (smtps-error (user-error "%s" (cadr err))))))
      (if (not how)
          (message "Rejected: nothing is sent to %s" (plist-get server :host))
        (smtps-trust-accept
         server how
         :then (lambda ()
                 (when (buffer-live-p buffer)
                   (with-current-buffer buffer
                     (unless (smtps-session--open-p)
                       (smtps-session--open)))))
         :else (lambda (err)
                 (when (buffer-live-p buffer)
                   (with-current-buffer buffer
                     (smtps-session--insert
                      (concat "! " (smtps-session--sentence err))
                      'smtps-session-refusal)))))))))

(defun smtps-session--open ()
  "Open the session of this buffer."
  (smtps-credentials-serve)
  (smtps-helper-subscribe 'session #'smtps-session--event)
  (add-hook 'smtps-helper-death-functions #'smtps-session--helper-died)
  (unless (get-buffer-process (current-buffer))
    ;; comint wants a process; this one only holds the mark.
    (make-pipe-process :name "smtps-session" :buffer (current-buffer)
                       :noquery t :filter #'ignore :sentinel #'ignore))
  (smtps-session--forget 'opening)
  (setq smtps-session--opening (list 'opening)
        smtps-session--told nil
        smtps-session--refused nil
        smtps-session--hung-up nil
        smtps-session--began (cons (copy-marker smtps-session--prompt-start)
                                   (current-time))
        buffer-read-only nil)
  (smtps-session-look--begin)
  (use-local-map smtps-session-mode-map)
  (smtps-session--show-prompt)
  (goto-char (point-max))
  (let ((buffer (current-buffer))
        (opening smtps-session--opening))
    (smtps-helper-call
     'session-open smtps-session--arguments
     :then (lambda (value)
             (smtps-session--opened buffer opening (plist-get value :session)))
     :else (lambda (err)
             (when (smtps-session--opening-p buffer opening)
               (with-current-buffer buffer
                 (smtps-session--closed (smtps-session--sentence err))))))))

(defun smtps-session--opening-p (buffer opening)
  "Return non-nil if BUFFER still waits for the session OPENING to be open."
  (and (buffer-live-p buffer)
       (eq opening (buffer-local-value 'smtps-session--opening buffer))))

(defun smtps-session--opened (buffer opening number)
  "BUFFER's session OPENING is open and has NUMBER."
  (if (not (smtps-session--opening-p buffer opening))
      (smtps-helper-call 'session-close (list :session number))
    (push (cons number buffer) smtps-session--buffers)
    (with-current-buffer buffer
      (setq smtps-session--number number
            smtps-session--opening nil)
      (smtps-session--give-next)
      (when smtps-session--begun-function
        (funcall (prog1 smtps-session--begun-function
                   (setq smtps-session--begun-function nil)))))))

;;;; Closing

(defun smtps-session-quit ()
  "Say quit to the server."
  (interactive)
  (smtps-session--assert-open)
  (cond
   (smtps-session--data
    (user-error "DATA is open: a line with only a dot ends the message, C-c C-c hangs up"))
   ((smtps-session--due)
    (user-error "The server waits for the %s: a line with only a * cancels the login"
                (smtps-session--due)))
   (t (smtps-session--type '("quit")))))

(defun smtps-session-hang-up ()
  "Stop waiting for the server: close the connection without saying quit.
If nothing is waited for, ask first."
  (interactive)
  (smtps-session--assert-open)
  (when (or smtps-session--opening
            (> smtps-session--owed 0)
            (memq smtps-session-state '(opening greeting handshake closing))
            (y-or-n-p "Nothing is waited for; hang up without saying quit? "))
    (setq smtps-session--hung-up t)
    (if smtps-session--number
        (smtps-helper-call 'session-close (list :session smtps-session--number))
      (smtps-session--closed nil))))

(defun smtps-session--killed ()
  "The buffer is being killed: hang up."
  (when smtps-session--number
    (setf (alist-get smtps-session--number smtps-session--buffers nil t) nil)
    (when (smtps-helper-live-p)
      (smtps-helper-call 'session-close (list :session smtps-session--number)))))

(provide 'smtps-session)
;;; smtps-session.el ends here
